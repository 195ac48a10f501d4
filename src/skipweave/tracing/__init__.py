"""Analysis of given networks by running replicas of them: data flow, channel graph, outputs."""
