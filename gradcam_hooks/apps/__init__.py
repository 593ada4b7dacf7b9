"""What is built of the library: the command, its batches and report, the page, the demo."""
