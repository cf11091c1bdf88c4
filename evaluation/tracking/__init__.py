"""MLflow as a sink: runs, keys, the registry and its champion."""
