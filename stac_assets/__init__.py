"""The Dagster project: every collection of every workflow as a partitioned chain of assets. Thin; the work is in
`stac_manager`."""
