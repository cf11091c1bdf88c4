"""Whether features and answers follow the tissue or the hospital."""
