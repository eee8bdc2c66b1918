"""foreact's policies and worlds for vla-eval."""
