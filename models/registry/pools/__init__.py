"""What pools of model servers have loaded, and whether more fits. Slim."""
