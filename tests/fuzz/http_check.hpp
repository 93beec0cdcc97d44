// What must hold for the request parser on any bytes; shared by the fuzz target and by the unit
// test that replays its corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/parser.hpp"

namespace bai::http::fuzz {

struct Outcome {
  std::vector<Request> requests;
  std::optional<FramingError> error;
  bool in_request = false;  // the bytes end in the middle of one
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Limits small enough for short inputs to reach them.
inline ParserLimits small_limits() {
  ParserLimits limits;
  limits.request_line_bytes = 200;
  limits.header_line_bytes = 120;
  limits.header_bytes = 400;
  limits.header_count = 6;
  limits.body_bytes = 64;
  limits.chunk_line_bytes = 24;
  limits.chunk_extension_bytes = 40;
  return limits;
}

// Feeds pieces whose sizes `next_size` chooses (at least 1).
template <class NextSize>
Outcome run_parser(std::string_view bytes, const ParserLimits& limits, NextSize&& next_size) {
  RequestParser parser(limits);
  Outcome out;
  while (!bytes.empty() && !out.error) {
    std::string_view piece = bytes.substr(0, next_size());
    bytes.remove_prefix(piece.size());
    while (!piece.empty() && !out.error) {
      piece.remove_prefix(parser.feed(piece));
      out.error = parser.error();
      if (parser.done()) out.requests.push_back(parser.take());
    }
  }
  out.in_request = !out.error && parser.started();
  return out;
}

// Empty when all is well, else what is wrong.
inline std::string check_bytes(std::string_view bytes) {
  for (const ParserLimits& limits : {ParserLimits{}, small_limits()}) {
    const Outcome whole = run_parser(bytes, limits, [&] { return bytes.size(); });
    if (run_parser(bytes, limits, [] { return std::size_t{1}; }) != whole) {
      return "feeding byte by byte gives another result";
    }
    // Pieces whose sizes come from the bytes themselves.
    std::size_t at = 0;
    const auto sizes = [&] {
      at = (at * 31 + 7) % bytes.size();
      return std::size_t{1} + static_cast<unsigned char>(bytes[at]) % 37;
    };
    if (run_parser(bytes, limits, sizes) != whole) return "feeding pieces gives another result";
    for (const Request& request : whole.requests) {
      if (request.body.size() > limits.body_bytes) return "a body exceeds its limit";
      if (request.headers.size() > limits.header_count) return "too many headers came through";
      if (request.headers.has("Content-Length") && request.headers.has("Transfer-Encoding")) {
        return "two framings in one request came through";
      }
      if (request.version_minor == 1 && request.headers.count("Host") != 1) {
        return "a request without exactly one Host came through";
      }
      if (request.target.find_first_of(" \r\n\t") != std::string::npos) {
        return "a target with blanks came through";
      }
    }
  }
  return {};
}

}  // namespace bai::http::fuzz
