//! An upstream's HTTP/1.1.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::log::Record;
use super::reply::Reply;
use super::{Served, seconds};
use crate::frames;
use crate::http1::{
    Broken, Chunk, Head, bytes, header, read_chunk, read_chunked, read_head, read_sized, write_end, write_part,
};
use crate::schema::{Behavior, Close};
use crate::wire::Connection;

/// What becomes of the connection after an exchange.
enum After {
    KeepAlive,
    Close,
    Reset,
}

/// Serves one connection.
pub(crate) async fn serve(served: &Served, mut connection: Connection) -> Result<(), Broken> {
    loop {
        let head = read_head(&mut connection.reader).await?;
        let behavior = served.ledger.next_behavior();
        let record = record_of(served, &head);
        let number = served.ledger.record(record.clone());
        let _in_flight = served.ledger.begin();
        let mut exchange = Exchange { served, connection: &mut connection, head, behavior, record, number };
        match exchange.run().await? {
            After::KeepAlive => {}
            After::Close => return Ok(connection.writer.shutdown().await?),
            After::Reset => {
                connection.reset();
                return Ok(());
            }
        }
    }
}

fn record_of(served: &Served, head: &Head) -> Record {
    let mut record = Record {
        authority: header(&head.headers, "host").unwrap_or("").to_owned(),
        headers: head.headers.clone(),
        proto: "h1",
        sni: served.sni.clone(),
        ..Record::default()
    };
    let (method, rest) = head.line.split_once(' ').unwrap_or((&head.line, ""));
    record.method = method.to_owned();
    record.path = rest.rsplit_once(' ').map_or(rest, |(path, _)| path).to_owned();
    record.set_body(b"");
    record
}

struct Exchange<'a> {
    served: &'a Served,
    connection: &'a mut Connection,
    head: Head,
    behavior: Behavior,
    record: Record,
    number: usize,
}

impl Exchange<'_> {
    async fn run(&mut self) -> Result<After, Broken> {
        let asks = |name, word| header(&self.head.headers, name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let (websocket, waits) = (asks("upgrade", "websocket"), asks("expect", "100-continue"));
        if websocket {
            return self.websocket().await;
        }
        if waits && !self.behavior.no_continue {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if self.behavior.close == Some(Close::Early) {
            return Ok(After::Reset);
        }
        if self.behavior.stream_echo {
            return self.echo().await;
        }
        if !self.behavior.early_reply {
            self.read_body().await?;
        }
        sleep(seconds(self.behavior.delay)).await;
        if self.behavior.close == Some(Close::Before) {
            return Ok(After::Reset);
        }
        self.answer().await
    }

    async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.connection.writer.write_all(data).await?;
        self.connection.writer.flush().await
    }

    async fn read_body(&mut self) -> Result<(), Broken> {
        let mut body = Vec::new();
        if self.head.is_chunked() {
            self.record.trailers = read_chunked(&mut self.connection.reader, &mut body).await?;
        } else if let Some(length) = self.head.length()? {
            read_sized(&mut self.connection.reader, length, &mut body).await?;
        }
        self.record.set_body(&body);
        self.served.ledger.complete(self.number, self.record.clone());
        Ok(())
    }

    /// Answers at once and sends the body back as it comes.
    async fn echo(&mut self) -> Result<After, Broken> {
        let head = format!("HTTP/1.1 200 OK\r\nx-upstream: {}\r\ntransfer-encoding: chunked\r\n\r\n", self.served.name);
        self.write(head.as_bytes()).await?;
        let (reader, writer) = (&mut self.connection.reader, &mut self.connection.writer);
        if self.head.is_chunked() {
            while let Chunk::Data(data) = read_chunk(reader).await? {
                write_part(writer, &data, true).await?;
            }
        } else {
            let mut left = self.head.length()?.unwrap_or(0);
            while left > 0 {
                let mut part = Vec::new();
                read_sized(reader, left.min(16 * 1024), &mut part).await?;
                left -= part.len();
                write_part(writer, &part, true).await?;
            }
        }
        write_end(writer, std::iter::empty()).await?;
        Ok(After::KeepAlive)
    }

    async fn answer(&mut self) -> Result<After, Broken> {
        let reply = Reply::of(&self.served.name, &self.behavior, &self.record);
        let bodiless = reply.is_bodiless(&self.record.method);
        let chunked = self.behavior.chunked && !bodiless;
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if chunked {
            head.push_str("transfer-encoding: chunked\r\n");
        } else if reply.status != 204 && header(&reply.headers, "content-length").is_none() {
            head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
        }
        if self.behavior.connection_close {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        self.write(&bytes(&head)).await?;
        if !bodiless {
            if self.behavior.close == Some(Close::Mid) {
                write_part(&mut self.connection.writer, reply.first_half(), chunked).await?;
                // a reset overtakes what is not delivered yet
                sleep(Duration::from_millis(100)).await;
                return Ok(After::Reset);
            }
            sleep(seconds(self.behavior.delay_body)).await;
            self.write_body(&reply.body, chunked).await?;
        }
        Ok(if self.behavior.connection_close { After::Close } else { After::KeepAlive })
    }

    async fn write_body(&mut self, body: &[u8], chunked: bool) -> io::Result<()> {
        for part in body.chunks(256 * 1024) {
            write_part(&mut self.connection.writer, part, chunked).await?;
        }
        if chunked {
            write_end(&mut self.connection.writer, self.behavior.trailers.iter()).await?;
        }
        Ok(())
    }

    async fn websocket(&mut self) -> Result<After, Broken> {
        let name = &self.served.name;
        if let Some(status) = self.behavior.status {
            let head = format!("HTTP/1.1 {status} X\r\nx-upstream: {name}\r\ncontent-length: 0\r\n\r\n");
            self.write(head.as_bytes()).await?;
            return Ok(After::Close);
        }
        let accept = frames::accept(header(&self.head.headers, "sec-websocket-key").unwrap_or(""));
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nx-upstream: {name}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        self.write(head.as_bytes()).await?;
        let (reader, writer) = (&mut self.connection.reader, &mut self.connection.writer);
        loop {
            let (opcode, data) = frames::read(reader).await?;
            match opcode {
                frames::CLOSE => {
                    frames::write(writer, frames::CLOSE, &data, false).await?;
                    return Ok(After::Close);
                }
                frames::PING => frames::write(writer, frames::PONG, &data, false).await?,
                frames::TEXT | frames::BINARY => {
                    let named = [name.as_bytes(), b":", &data].concat();
                    frames::write(writer, opcode, &named, false).await?;
                }
                _ => {}
            }
        }
    }
}
