"""From raw files to model-ready input: cohorts, slides, fundus photographs, quality."""
