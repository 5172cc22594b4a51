"""Typed views of Kubernetes objects: msgspec Structs that hold the fields orch's own services read.

A view ignores what it does not know, so writing one back would lose fields: services write patches, or bodies they
built whole. Fields follow k8s.io/api; absent and zero are the same.
"""
