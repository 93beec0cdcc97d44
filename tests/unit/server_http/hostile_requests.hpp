// Requests that must be refused: every form that two HTTP parsers may read differently, and every
// limit. Used against the parser alone and against a running server.
#pragma once

#include <string>
#include <vector>

#include "http/parser.hpp"

namespace bai::http::test {

struct Hostile {
  const char* name;
  std::string bytes;
  FramingError error;
  int status;
};

inline std::vector<Hostile> hostile_requests() {
  using enum FramingError;
  const std::string post = "POST /x HTTP/1.1\r\nHost: h\r\n";
  const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  const std::string get = "GET / HTTP/1.1\r\n";
  const auto repeat = [](std::string text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  return {
      // Two framings, or one that is not clear.
      {"length and encoding", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
       LengthAndEncoding, 400},
      {"encoding and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
       LengthAndEncoding, 400},
      {"two lengths", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
       RepeatedContentLength, 400},
      {"two equal lengths", post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
       RepeatedContentLength, 400},
      {"length list", post + "Content-Length: 5, 5\r\n\r\nhello", BadContentLength, 400},
      {"length with junk", post + "Content-Length: 5;x\r\n\r\nhello", BadContentLength, 400},
      {"length in letters", post + "Content-Length: abc\r\n\r\n", BadContentLength, 400},
      {"length hexadecimal", post + "Content-Length: 0x5\r\n\r\nhello", BadContentLength, 400},
      {"length signed", post + "Content-Length: +5\r\n\r\nhello", BadContentLength, 400},
      {"length negative", post + "Content-Length: -5\r\n\r\n", BadContentLength, 400},
      {"length with a blank", post + "Content-Length: 1 0\r\n\r\n", BadContentLength, 400},
      {"length empty", post + "Content-Length:\r\n\r\n", BadContentLength, 400},
      {"length overflowing", post + "Content-Length: 18446744073709551621\r\n\r\nhello",
       BadContentLength, 400},
      {"other coding first", post + "Transfer-Encoding: gzip, chunked\r\n\r\n",
       UnsupportedTransferEncoding, 501},
      {"other coding", post + "Transfer-Encoding: gzip\r\n\r\n", UnsupportedTransferEncoding, 501},
      {"coding twice in a line", post + "Transfer-Encoding: chunked, chunked\r\n\r\n",
       UnsupportedTransferEncoding, 501},
      {"identity coding", post + "Transfer-Encoding: identity\r\n\r\n", UnsupportedTransferEncoding,
       501},
      {"almost chunked", post + "Transfer-Encoding: xchunked\r\n\r\n", UnsupportedTransferEncoding,
       501},
      {"coding with a parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n",
       UnsupportedTransferEncoding, 501},
      {"coding twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
       BadTransferEncoding, 400},
      {"coding twice, one empty", post + "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n",
       BadTransferEncoding, 400},
      {"coding empty", post + "Transfer-Encoding:\r\n\r\n", BadTransferEncoding, 400},
      {"coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       BadTransferEncoding, 400},
      {"coding with vertical tab",
       post + "Transfer-Encoding: \x0b"
              "chunked\r\n\r\n",
       BadHeaderValue, 400},
      // Lines.
      {"bare LF behind the request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", BareLineFeed, 400},
      {"bare LF behind a header", get + "Host: h\nX: y\r\n\r\n", BareLineFeed, 400},
      {"bare LF at the end", get + "Host: h\r\n\n", BareLineFeed, 400},
      {"bare CR in a header", get + "Host: h\r\nX: a\rb\r\n\r\n", BadHeaderValue, 400},
      {"NUL in a header", get + "Host: h\r\nX: a" + std::string(1, '\0') + "b\r\n\r\n",
       BadHeaderValue, 400},
      {"folded header", get + "Host: h\r\nX: a\r\n b\r\n\r\n", FoldedHeader, 400},
      {"folded first header", get + " Host: h\r\n\r\n", FoldedHeader, 400},
      {"folding with a tab", get + "Host: h\r\n\tX: y\r\n\r\n", FoldedHeader, 400},
      {"blank before the colon", post + "Content-Length : 5\r\n\r\nhello", BadHeaderName, 400},
      {"tab before the colon", post + "Transfer-Encoding\t: chunked\r\n\r\n", BadHeaderName, 400},
      {"no colon", get + "Host: h\r\nnonsense\r\n\r\n", BadHeaderName, 400},
      {"no name", get + "Host: h\r\n: x\r\n\r\n", BadHeaderName, 400},
      {"name not a token", get + "Host: h\r\nX(y): z\r\n\r\n", BadHeaderName, 400},
      {"name not ASCII", get + "Host: h\r\nX\xc3\xa9: z\r\n\r\n", BadHeaderName, 400},
      {"two blank lines in front", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", BadRequestLine,
       400},
      // The request line.
      {"not HTTP", "hello\r\n", BadRequestLine, 400},
      {"a TLS hello", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 13),
       BadRequestLine, 400},
      {"HTTP/0.9", "GET /\r\n", BadRequestLine, 400},
      {"two blanks", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"blank at the end", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", BadRequestLine, 400},
      {"tab for blank", "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", BadRequestLine, 400},
      {"method not a token", "G(T / HTTP/1.1\r\nHost: h\r\n\r\n", BadRequestLine, 400},
      {"version in lower case", "GET / http/1.1\r\nHost: h\r\n\r\n", BadRequestLine, 400},
      {"version with three digits", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", BadRequestLine, 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UnsupportedVersion, 505},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", UnsupportedVersion, 505},
      {"target with a blank", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"target with a fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"target not ASCII", "GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"target with a control character", "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"target with a broken escape", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"target with NUL", "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"target not UTF-8", "GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"target without slash", "GET x HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"tunnel", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"asterisk without OPTIONS", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"foreign scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      {"user in the authority", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", BadTarget, 400},
      // Host.
      {"no host", get + "X: y\r\n\r\n", BadHost, 400},
      {"two hosts", get + "Host: a\r\nHost: a\r\n\r\n", BadHost, 400},
      {"empty host", get + "Host:\r\n\r\n", BadHost, 400},
      {"host list", get + "Host: a, b\r\n\r\n", BadHost, 400},
      {"host with a path", get + "Host: a/b\r\n\r\n", BadHost, 400},
      {"host against target", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", BadHost, 400},
      // Chunks.
      {"chunk size with 0x", chunked + "0x5\r\nhello\r\n0\r\n\r\n", BadChunk, 400},
      {"chunk size empty", chunked + "\r\nhello\r\n0\r\n\r\n", BadChunk, 400},
      {"chunk size in words", chunked + "five\r\n", BadChunk, 400},
      {"chunk size signed", chunked + "+5\r\nhello\r\n", BadChunk, 400},
      {"chunk size with a blank", chunked + "5 \r\nhello\r\n", BadChunk, 400},
      {"chunk size overflowing", chunked + "10000000000000005\r\nhello\r\n", BadChunk, 400},
      {"chunk size line with bare LF", chunked + "5\nhello\r\n0\r\n\r\n", BadChunk, 400},
      {"chunk extension with bare CR", chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n", BadChunk, 400},
      {"chunk without its end", chunked + "5\r\nhello0\r\n\r\n", BadChunk, 400},
      {"chunk ended with bare LF", chunked + "5\r\nhello\n0\r\n\r\n", BadChunk, 400},
      {"chunk longer than said", chunked + "3\r\nhello\r\n0\r\n\r\n", BadChunk, 400},
      {"chunk line too long", chunked + "5;" + std::string(300, 'x') + "\r\nhello\r\n", BadChunk,
       400},
      {"too much in extensions", chunked + repeat("1;" + std::string(200, 'x') + "\r\na\r\n", 100),
       BadChunk, 400},
      {"framing in a trailer", chunked + "0\r\nContent-Length: 5\r\n\r\n", BadTrailer, 400},
      {"coding in a trailer", chunked + "0\r\nTransfer-Encoding: chunked\r\n\r\n", BadTrailer, 400},
      {"malformed trailer", chunked + "0\r\nX : y\r\n\r\n", BadTrailer, 400},
      {"folded trailer", chunked + "0\r\nX: y\r\n z\r\n\r\n", BadTrailer, 400},
      {"trailer with bare LF", chunked + "0\r\nX: y\n\r\n", BareLineFeed, 400},
      {"too many trailers", chunked + "0\r\n" + repeat("X: y\r\n", 101), TooManyHeaders, 431},
      // Limits and expectations.
      {"request line too long", "GET /" + std::string(9000, 'x') + " HTTP/1.1\r\n",
       RequestLineTooLong, 414},
      {"request line without end", std::string(9000, 'G'), RequestLineTooLong, 414},
      {"header line too long", get + "X: " + std::string(17000, 'x') + "\r\n", HeaderLineTooLong,
       431},
      {"header line without end", get + std::string(17000, 'x'), HeaderLineTooLong, 431},
      {"headers too large", get + repeat("X: " + std::string(8000, 'x') + "\r\n", 9),
       HeadersTooLarge, 431},
      {"too many headers", get + "Host: h\r\n" + repeat("X: y\r\n", 100), TooManyHeaders, 431},
      {"body too large", post + "Content-Length: 999999999999\r\n\r\n", BodyTooLarge, 413},
      {"chunked body too large", chunked + "fffffff\r\n", BodyTooLarge, 413},
      {"unknown expectation", post + "Expect: miracles\r\nContent-Length: 1\r\n\r\nx",
       UnsupportedExpectation, 417},
  };
}

}  // namespace bai::http::test
