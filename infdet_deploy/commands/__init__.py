"""What the commands do when arguments are left out, and the calls behind them; `cli` parses and prints."""
