"""Long jobs in parts: an interrupted one goes on, and several devices or machines share one."""
