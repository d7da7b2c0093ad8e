"""Files of this machine: read within limits, written whole, watched for changes."""
