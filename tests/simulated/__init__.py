"""What the simulated host has beyond the contract: memory, processes, virtual time, hands."""
