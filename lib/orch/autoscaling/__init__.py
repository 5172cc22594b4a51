"""How many replicas a workload shall have: pure functions of what was read, for the controller and for replays.

`recommend` follows kube-controller-manager's podautoscaler (HorizontalPodAutoscaler autoscaling/v2); its inputs and its
outcome are protobuf messages, so that what is published as a decision is what was decided on.
"""
