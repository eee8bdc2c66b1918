"""What the commands do, with their progress bars. Imported only when a command runs, so that --help is quick."""
