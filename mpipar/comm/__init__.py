"""Messages between ranks."""

from mpipar.comm.communicator import Communicator
from mpipar.comm.launch import Launcher, find_launcher
from mpipar.comm.messages import Messages, Request
from mpipar.comm.network import Network
from mpipar.comm.network_file import load_network, save_network
from mpipar.comm.started import Started
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG, Pending, Status, Transport
from mpipar.comm.world import load_mpi, world

__all__ = [
    "ANY_SOURCE",
    "ANY_TAG",
    "Communicator",
    "Launcher",
    "Messages",
    "Network",
    "Pending",
    "Request",
    "Started",
    "Status",
    "Transport",
    "find_launcher",
    "load_mpi",
    "load_network",
    "save_network",
    "world",
]
