"""How orch's services talk: protobuf on NATS JetStream."""
