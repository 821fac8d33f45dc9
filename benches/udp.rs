//! What a datagram costs at the socket, on the loopback: sent by us and by quinn-udp alone, received by us and by quinn-udp alone.
//!
//! Sending includes the way through the loopback to a socket that is full; receiving does not include what was sent. What is compared is ours
//! against the crate that does the same one destination at a time and asks the kernel for all it can tell.

#[path = "common/meter.rs"]
mod meter;

use colloque::model::Path;
use colloque::relay::outbox::{Batch, Outbox};
use colloque::worker::udp::{Offload, UdpPort, bind_shared};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meter::{Spent, criterion};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};

/// Receivers of one batch: rooms of three, sixteen of them at work at once.
const RECEIVERS: usize = 32;

fn socket() -> UdpSocket {
    bind_shared(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port")
}

/// A socket whose buffer is full after a few datagrams, so that memory for more of them is not part of what is measured.
fn full_at_once() -> UdpSocket {
    let socket = socket();
    socket2::SockRef::from(&socket).set_recv_buffer_size(1).expect("the least there is");
    socket
}

/// A batch of `each` datagrams of `len` bytes to every receiver.
fn batch(receivers: &[UdpSocket], each: usize, len: usize) -> Outbox {
    let mut outbox = Outbox::default();
    for receiver in receivers {
        let path = Path { socket: 0, local: None, remote: receiver.local_addr().expect("bound") };
        for _ in 0..each {
            assert!(outbox.push(path, false, &vec![1; len]));
        }
    }
    outbox
}

fn send(c: &mut Criterion) {
    let mut group = c.benchmark_group("udp/send");
    for (name, each, len) in
        [("voice", 1, 136), ("pictures singly", 1, 1_166), ("trains of 2", 2, 1_166), ("trains of 6", 6, 1_166)]
    {
        let receivers: Vec<_> = (0..RECEIVERS).map(|_| full_at_once()).collect();
        let mut outbox = batch(&receivers, each, len);
        let outbox = outbox.finish();
        let datagrams = (RECEIVERS * each) as u64;
        group.throughput(Throughput::Elements(datagrams));
        let mut port = UdpPort::new(vec![socket()], Offload::default()).expect("options");
        group.bench_function(format!("{name}, ours"), |b| {
            b.iter_custom(|asked| {
                let mut spent = Spent::default();
                for _ in 0..asked {
                    let sent = spent.on(|| port.send(outbox));
                    assert_eq!(sent.datagrams, datagrams);
                }
                assert!(spent.allocations <= 16, "a warm batch allocates nothing: {}", spent.allocations);
                spent.time
            });
        });
        let from = socket();
        let state = UdpSocketState::new(UdpSockRef::from(&from)).expect("options");
        group.bench_function(format!("{name}, quinn-udp"), |b| {
            b.iter_custom(|asked| {
                let mut spent = Spent::default();
                for _ in 0..asked {
                    spent.on(|| send_by_quinn(outbox, each, &state, &from));
                }
                spent.time
            });
        });
    }
    group.finish();
}

fn send_by_quinn(outbox: &Batch, each: usize, state: &UdpSocketState, from: &UdpSocket) {
    for train in outbox.datagrams().chunks(each) {
        let (first, last) = (train[0], train[each - 1]);
        let transmit = Transmit {
            destination: first.path.remote,
            ecn: None,
            contents: &outbox.bytes()[first.start..last.start + last.len],
            segment_size: (each > 1).then_some(first.len),
            src_ip: None,
        };
        state.try_send(UdpSockRef::from(from), &transmit).expect("sent");
    }
}

fn receive(c: &mut Criterion) {
    const WAITING: usize = 32;
    let mut group = c.benchmark_group("udp/receive");
    for (name, each, len) in [("voice", 1, 136), ("pictures singly", 1, 1_166), ("trains of 6", 6, 1_166)] {
        group.throughput(Throughput::Elements((WAITING * each) as u64));
        let receivers = [socket()];
        let mut outbox = batch(&receivers, each, len);
        let outbox = outbox.finish();
        let [to] = receivers;
        let reader = to.try_clone().expect("a handle");
        let mut from = UdpPort::new(vec![socket()], Offload::default()).expect("options");
        let mut port = UdpPort::new(vec![to], Offload::default()).expect("options");
        group.bench_function(format!("{name}, ours"), |b| {
            b.iter_custom(|asked| {
                let mut spent = Spent::default();
                for _ in 0..asked {
                    (0..WAITING).for_each(|_| assert_eq!(from.send(outbox).lost, 0));
                    port.mark_all_readable();
                    let mut bytes = 0;
                    let count =
                        spent.on(|| port.receive(|_, batch| bytes += batch.iter().map(|datagram| datagram.len).sum::<usize>()));
                    assert_eq!((count, bytes), (WAITING * each, WAITING * each * len));
                }
                assert_eq!(spent.allocations, 0);
                spent.time
            });
        });
        // Asks for everything again, as quinn-udp does by itself.
        let state = UdpSocketState::new(UdpSockRef::from(&reader)).expect("options");
        let mut buffers = vec![vec![0; 65_536]; BATCH_SIZE];
        group.bench_function(format!("{name}, quinn-udp"), |b| {
            b.iter_custom(|asked| {
                let mut spent = Spent::default();
                for _ in 0..asked {
                    (0..WAITING).for_each(|_| assert_eq!(from.send(outbox).lost, 0));
                    let count = spent.on(|| {
                        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                        let mut meta = [RecvMeta::default(); BATCH_SIZE];
                        state.recv(UdpSockRef::from(&reader), &mut slices, &mut meta).expect("received")
                    });
                    assert_eq!(count, WAITING);
                }
                spent.time
            });
        });
    }
    group.finish();
}

criterion_group! { name = udp; config = criterion(); targets = send, receive }
criterion_main!(udp);
