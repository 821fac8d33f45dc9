// With `?udp=PORT` in the address, the relay's media candidates are replaced by one at that port: the test's own link.
// Imported before the client, which takes RTCPeerConnection as it finds it.

const port = new URLSearchParams(location.search).get('udp');

const CANDIDATE = /^(a=)?(candidate:\S+ 1 udp \d+ )(\d+\.\d+\.\d+\.\d+) (\d+)( typ host.*)$/i;

/** The candidate line at the link's port; undefined when it is none of ours (IPv6, TCP). */
function rewritten(line) {
  const match = CANDIDATE.exec(line.trim());
  return match && `${match[1] ?? ''}${match[2]}${match[3]} ${port}${match[5]}`;
}

function rewriteSdp(sdp) {
  return sdp
    .split('\r\n')
    .map((line) => (line.startsWith('a=candidate:') ? rewritten(line) : line))
    .filter((line) => line !== null && line !== undefined)
    .join('\r\n');
}

if (port) {
  const { setRemoteDescription, addIceCandidate } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setRemoteDescription = function (description) {
    return setRemoteDescription.call(this, { type: description.type, sdp: rewriteSdp(description.sdp) });
  };
  RTCPeerConnection.prototype.addIceCandidate = function (init) {
    const line = init?.candidate && rewritten(init.candidate);
    if (init?.candidate && !line) return Promise.resolve();
    return addIceCandidate.call(this, line ? { candidate: line, sdpMid: init.sdpMid, sdpMLineIndex: init.sdpMLineIndex } : init);
  };
}
