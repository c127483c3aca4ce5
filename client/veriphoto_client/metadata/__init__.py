"""What stands in a picture's metadata: readers of EXIF, XMP, IPTC and PNG text, and what is recognised in them."""
