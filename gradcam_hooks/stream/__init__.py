"""Many pictures through a network: read ahead, explained in batches, given back one by one."""
