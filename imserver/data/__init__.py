"""The data tier: the interfaces to what is stored (`store`) and the engines behind them."""
