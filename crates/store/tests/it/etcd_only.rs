//! What only a cluster can show: other servers, lost connections, and upstream's data.
