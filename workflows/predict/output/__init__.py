"""The folder that a batch writes: tables, cases, the record of the run."""
