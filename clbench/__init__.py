"""clbench: a plugin-registry benchmark suite for continual learning."""
