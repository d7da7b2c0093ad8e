"""What outlives a call or the process: objects by their keys, behind one small port."""
