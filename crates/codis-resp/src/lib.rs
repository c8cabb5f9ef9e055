//! RESP framing over bytes, limits, the command table and key positions. No IO.
