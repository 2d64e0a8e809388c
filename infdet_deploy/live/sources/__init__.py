"""Where frames come from: cameras, streams and files (`address.py` lists them), each decoded in its own process."""
