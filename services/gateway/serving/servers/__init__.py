"""The model servers: in processes of their own, over gRPC, or inside this one."""
