"""The grades of diabetic retinopathy."""

GRADES = ("none", "mild", "moderate", "severe", "proliferative")
"""International clinical grades of diabetic retinopathy, 0 to 4 (Wilkinson et al. 2003)."""
