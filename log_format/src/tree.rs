//! The RFC 6962 Merkle tree over the records.
