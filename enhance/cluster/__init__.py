"""Work spread over the machines of a dask cluster."""
