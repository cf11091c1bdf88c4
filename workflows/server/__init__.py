"""A model behind a web address: which images it may read, whether it is the registered one."""
