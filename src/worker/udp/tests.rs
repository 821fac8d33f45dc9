//! The port on the loopback.

use super::*;
use std::time::Duration;

const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn bound(address: &str) -> Option<UdpSocket> {
    // A host without IPv6 has nothing to test there.
    bind_shared(address.parse().expect("an address")).ok()
}

/// Receives until `count` datagrams are there; each as its sender and bytes.
fn collect(port: &mut UdpPort, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..1_000 {
        port.mark_all_readable();
        port.receive(|bytes, batch| {
            all.extend(batch.iter().map(|datagram| bytes[datagram.start..datagram.start + datagram.len].to_vec()));
        });
        if all.len() >= count {
            break;
        }
        let mut fds: Vec<_> =
            port.sockets().map(|fd| rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)).collect();
        let most = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        rustix::event::poll(&mut fds, Some(&most)).expect("waits");
    }
    all
}

/// A frame, voice, a frame of other lengths: all that batches and trains have to tell apart.
fn burst(path: Path) -> Outbox {
    let mut outbox = Outbox::default();
    let lengths = [1_100, 1_100, 1_100, 700, 90, 90, 1_150, 1_150, 1_150, 1_150, 33, 1_200];
    for (mark, len) in lengths.into_iter().enumerate() {
        assert!(outbox.push(path, len < 100, &vec![mark as u8; len]));
    }
    outbox
}

#[test]
fn a_burst_arrives_the_same_with_and_without_offloads() {
    for address in LOOPBACKS {
        let mut arrived = Vec::new();
        for (gso, gro) in [(true, true), (true, false), (false, true), (false, false)] {
            let (Some(from), Some(to)) = (bound(address), bound(address)) else { return };
            let remote = to.local_addr().expect("bound");
            let path = Path { socket: 0, local: None, remote };
            let mut sender = UdpPort::new(vec![from], Offload { gso, gro }).expect("options");
            let mut receiver = UdpPort::new(vec![to], Offload { gso, gro }).expect("options");
            assert_eq!(sender.offload(), Offload { gso, gro }, "as it was asked");
            let mut outbox = burst(path);
            let outbox = outbox.finish();
            let sent = sender.send(outbox);
            assert_eq!(sent.datagrams as usize, outbox.datagrams().len(), "{sent:?}");
            assert_eq!(sent.bytes as usize, outbox.bytes().len());
            arrived.push(collect(&mut receiver, outbox.datagrams().len()));
        }
        let one = Path { socket: 0, local: None, remote: LOOPBACKS[0].parse().expect("an address") };
        let (mut outbox, reference) = (burst(one), arrived.first().expect("four"));
        let outbox = outbox.finish();
        let wanted: Vec<_> = outbox.datagrams().iter().map(|d| outbox.bytes()[d.start..d.start + d.len].to_vec()).collect();
        assert_eq!(*reference, wanted);
        assert!(arrived.iter().all(|these| these == reference));
    }
}

#[test]
fn what_two_people_get_in_turn_reaches_each_whole_and_in_order() {
    for (address, gso) in LOOPBACKS.into_iter().flat_map(|address| [(address, true), (address, false)]) {
        let (Some(from), Some(one), Some(other)) = (bound(address), bound(address), bound(address)) else { return };
        let paths = [&one, &other].map(|to| Path { socket: 0, local: None, remote: to.local_addr().expect("bound") });
        let offload = Offload { gso, gro: false };
        let mut sender = UdpPort::new(vec![from], offload).expect("options");
        let mut outbox = Outbox::default();
        let mut wanted = [Vec::new(), Vec::new()];
        // More datagrams apart than one call has places for.
        for mark in 0..150_u8 {
            for (path, wanted) in paths.iter().zip(&mut wanted) {
                let datagram = vec![mark; if mark % 6 == 5 { 400 } else { 1_000 }];
                assert!(outbox.push(*path, false, &datagram));
                wanted.push(datagram);
            }
        }
        let sent = sender.send(outbox.gather());
        assert_eq!((sent.datagrams, sent.lost), (300, 0), "{sent:?}");
        for (to, wanted) in [one, other].into_iter().zip(wanted) {
            let mut receiver = UdpPort::new(vec![to], offload).expect("options");
            assert_eq!(collect(&mut receiver, wanted.len()), wanted);
        }
    }
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let far = "127.0.0.1:0";
    let (Some(port), Some(far)) = (bound("0.0.0.0:0"), bound(far)) else { return };
    let number = port.local_addr().expect("bound").port();
    let mut relay = UdpPort::new(vec![port], Offload::default()).expect("options");
    // 127.0.0.2 is this host's as well; without the source the kernel would answer from 127.0.0.1.
    far.send_to(b"hello", ("127.0.0.2", number)).expect("sent");
    let mut path = None;
    for _ in 0..100 {
        relay.mark_all_readable();
        relay.receive(|_, batch| path = batch.first().map(|datagram| datagram.path));
        if path.is_some() {
            break;
        }
    }
    let path = path.expect("received");
    let mut outbox = Outbox::default();
    for len in [50, 1_000, 1_000, 20] {
        assert!(outbox.push(path, true, &vec![1; len]));
    }
    assert_eq!(relay.send(outbox.finish()).datagrams, 4);
    far.set_nonblocking(false).expect("blocking");
    far.set_read_timeout(Some(Duration::from_secs(5))).expect("bounded");
    for _ in 0..4 {
        let (_, from) = far.recv_from(&mut [0; 2_000]).expect("an answer");
        assert_eq!(from, SocketAddr::from(([127, 0, 0, 2], number)));
    }
}

#[test]
fn a_destination_that_cannot_be_reached_is_lost_alone() {
    let (Some(from), Some(to)) = (bound(LOOPBACKS[0]), bound(LOOPBACKS[0])) else { return };
    let remote = to.local_addr().expect("bound");
    let good = Path { socket: 0, local: None, remote };
    let bad = Path { remote: SocketAddr::from(([255, 255, 255, 255], 9)), ..good };
    let mut sender = UdpPort::new(vec![from], Offload::default()).expect("options");
    let mut receiver = UdpPort::new(vec![to], Offload::default()).expect("options");
    let mut outbox = Outbox::default();
    for path in [good, bad, good] {
        assert!(outbox.push(path, false, &[1; 800]) && outbox.push(path, false, &[1; 800]));
    }
    let sent = sender.send(outbox.finish());
    assert_eq!((sent.datagrams, sent.lost), (4, 2));
    assert_eq!(collect(&mut receiver, 4).len(), 4);
    assert!(sender.offload().gso, "the kernel is not to blame");
}

#[test]
fn what_does_not_fit_into_the_buffer_is_told() {
    for address in LOOPBACKS {
        let (Some(from), Some(to)) = (bound(address), bound(address)) else { return };
        let path = Path { socket: 0, local: None, remote: to.local_addr().expect("bound") };
        socket2::SockRef::from(&to).set_recv_buffer_size(8_192).expect("smaller");
        let mut sender = UdpPort::new(vec![from], Offload { gso: false, gro: false }).expect("options");
        let mut receiver = UdpPort::new(vec![to], Offload::default()).expect("options");
        let mut outbox = Outbox::default();
        (0..50).for_each(|_| assert!(outbox.push(path, false, &[1; 1_000])));
        sender.send(outbox.finish());
        let kept = collect(&mut receiver, 1).len();
        assert!(kept < 50, "positive control: {kept}");
        // The next one to fit brings the news, with its own bytes intact.
        receiver.ask_dropped();
        let mut one = Outbox::default();
        assert!(one.push(path, false, &[2; 700]));
        sender.send(one.finish());
        assert_eq!(collect(&mut receiver, 1), [vec![2; 700]]);
        assert_eq!(receiver.dropped(), 50 - kept as u64);
    }
}

#[test]
fn a_taken_port_is_noticed() {
    let holder = bind_shared(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = holder.local_addr().expect("bound");
    assert!(bind_shared(address).is_ok(), "workers share it");
    assert!(probe(address).is_err(), "a second relay must not");
}
