"""Method `linear`: a closed-form head on the mean tile features of a slide, the plain baseline."""
