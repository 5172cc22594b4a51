"""The built-in kinds: per topic a module with the strategies and the declarative entries (`RESOURCES`).

To add a kind, write its Strategy (only what differs from the base), its entry with names, columns and field
selectors, and, for a new topic, name the module in `orch_api.registry`. What several kinds share is in modules of its
own: pod_defaults, pod_rules (with container_rules, volume_rules and scheduling_rules), pod_templates, quantities,
columns and fields.
"""
