"""An online mixture of experts: their predictions, blended with weights that adapt."""
