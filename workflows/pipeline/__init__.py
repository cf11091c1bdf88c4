"""The Snakemake workflow, and what its rules ask of a job."""
