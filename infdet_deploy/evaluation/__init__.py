"""How good detections are beyond their mAP: what is wrong with them, better thresholds, pictures. No torch."""
