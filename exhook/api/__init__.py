"""The management API as the vendor's SDKs speak it: an application server changes its endpoint, nothing else."""
