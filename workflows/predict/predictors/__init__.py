"""One predictor for each modality, behind one contract."""
