"""The small desk: a tab of the web page where people look at cases and decide them."""
