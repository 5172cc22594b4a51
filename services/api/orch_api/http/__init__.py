"""HTTPS: Kubernetes' REST API over the pipeline and the watch cache."""
