"""The command line: one file a command, with its settings, their help, and what it does.

`table` names the commands, `main` finds and runs one, `parsing` turns its arguments into its settings. A command's
module is imported only when that command was asked for, so that `foreact --help` needs no torch.
"""
