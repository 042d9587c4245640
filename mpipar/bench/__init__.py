"""`mpipar bench`: what things cost on this machine, measured against what they may cost."""
