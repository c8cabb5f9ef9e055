//! The original's look at the role of each master, once per ping period.

use std::{collections::BTreeSet, time::Duration};

use tokio::{io::BufReader, net::TcpStream, time::timeout};

use crate::wire;

/// Of the original's connection and reads.
const PATIENCE: Duration = Duration::from_secs(3);

/// The first server whose ROLE is something else than master. One that does not answer, or answers with an
/// error, is passed over. One after another, as the original does it: a dead one holds up everything else.
pub(crate) async fn not_a_master(servers: BTreeSet<String>) -> Option<String> {
    for addr in servers {
        if let Ok(Ok(reply)) = timeout(PATIENCE, ask(&addr)).await {
            let text = String::from_utf8_lossy(&reply);
            if !text.starts_with('-') && !text.contains("master") {
                return Some(addr);
            }
        }
    }
    None
}

async fn ask(addr: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = BufReader::new(TcpStream::connect(addr).await?);
    wire::send(&mut stream, &[b"ROLE"]).await?;
    wire::reply(&mut stream).await
}
