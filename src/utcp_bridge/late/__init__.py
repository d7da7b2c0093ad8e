"""What is made when it is first used, so that a start is short: methods of data classes, and parts of libraries."""
