#include "http/multipart.hpp"

#include <algorithm>
#include <optional>
#include <random>

#include "http/text.hpp"

namespace bai::http {
namespace {

constexpr std::size_t kMaxBoundary = 70;  // RFC 2046

std::unexpected<Error> malformed(std::string message) {
  return fail(ErrorCode::InvalidArgument, "multipart body: " + std::move(message),
              "malformed-multipart");
}

std::unexpected<Error> over_limit(std::string message) {
  return fail(ErrorCode::QuotaExceeded, "multipart body: " + std::move(message), "multipart-limit");
}

bool is_boundary(std::string_view text) {
  if (text.empty() || text.size() > kMaxBoundary || text.back() == ' ') return false;
  return std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("'()+_,-./:=? ").find(c) != std::string_view::npos;
  });
}

// Takes one "; name=value" off the front; the value may be quoted. False on bad syntax.
bool take_parameter(std::string_view& rest, std::string_view& name, std::string& value) {
  rest = trim(rest);
  if (!rest.starts_with(';')) return false;
  rest = trim(rest.substr(1));
  const auto equals = rest.find('=');
  if (equals == std::string_view::npos) return false;
  name = trim(rest.substr(0, equals));
  rest.remove_prefix(equals + 1);
  value.clear();
  if (!rest.starts_with('"')) {
    const auto end = std::min(rest.find(';'), rest.size());
    value = trim(rest.substr(0, end));
    rest.remove_prefix(end);
    return is_token(name);
  }
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return is_token(name);
    }
    // Only \" and \\ are escapes: browsers write Windows paths as they are.
    const bool escape =
        rest[i] == '\\' && i + 1 < rest.size() && (rest[i + 1] == '"' || rest[i + 1] == '\\');
    if (escape) ++i;
    value += rest[i];
  }
  return false;
}

// RFC 5987: "UTF-8''name%20x"
std::optional<std::string> decode_extended(std::string_view text) {
  const auto first = text.find('\'');
  const auto second = first == std::string_view::npos ? first : text.find('\'', first + 1);
  if (second == std::string_view::npos || !iequals(text.substr(0, first), "utf-8")) {
    return std::nullopt;
  }
  return percent_decode(text.substr(second + 1));
}

Status read_disposition(std::string_view value, Part& part) {
  const auto semicolon = std::min(value.find(';'), value.size());
  if (!iequals(trim(value.substr(0, semicolon)), "form-data")) {
    return malformed("Content-Disposition of a part must be form-data");
  }
  std::string_view rest = value.substr(semicolon);
  bool has_name = false;
  bool has_extended = false;
  while (!trim(rest).empty()) {
    std::string_view name;
    std::string text;
    if (!take_parameter(rest, name, text)) {
      return malformed("Content-Disposition of a part has malformed parameters");
    }
    if (iequals(name, "name")) {
      if (has_name) return malformed("a part names itself twice");
      part.name = std::move(text);
      has_name = true;
    } else if (iequals(name, "filename*")) {
      auto decoded = decode_extended(text);
      if (!decoded) return malformed("a part's filename* must be UTF-8 and percent-encoded");
      part.filename = std::move(*decoded);
      part.has_filename = has_extended = true;
    } else if (iequals(name, "filename")) {
      if (!has_extended) part.filename = std::move(text);
      part.has_filename = true;
    }
  }
  if (!has_name) return malformed("a part has no name");
  if (!is_utf8(part.name) || !is_utf8(part.filename)) {
    return malformed("names of parts must be UTF-8");
  }
  return {};
}

// Reads the header lines of a part; `head` ends with the CR LF of its last line.
Status read_part_headers(std::string_view head, const MultipartLimits& limits, Part& part) {
  bool has_disposition = false;
  std::size_t count = 0;
  while (!head.empty()) {
    const auto end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (++count > limits.part_headers) return over_limit("a part has too many headers");
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
      return malformed("a part has a malformed header line");
    }
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trim(line.substr(colon + 1));
    if (iequals(name, "Content-Disposition")) {
      if (has_disposition) return malformed("a part has two Content-Disposition headers");
      has_disposition = true;
      if (auto read = read_disposition(value, part); !read) return read;
    } else if (iequals(name, "Content-Type")) {
      part.content_type = value;
    } else if (iequals(name, "Content-Transfer-Encoding") && !iequals(value, "binary") &&
               !iequals(value, "8bit") && !iequals(value, "7bit")) {
      return malformed("Content-Transfer-Encoding of parts is not supported");
    }
  }
  if (!has_disposition) return malformed("a part has no Content-Disposition");
  return {};
}

// The position of the next "\r\n--boundary" that really ends a part: the delimiter must be
// followed by "--" or by blanks and CR LF, so that data which merely begins like it is data.
struct Delimiter {
  std::size_t at = std::string_view::npos;
  std::size_t next = 0;  // behind the delimiter line
  bool last = false;
};

Delimiter find_delimiter(std::string_view body, std::size_t from, std::string_view delimiter) {
  for (;;) {
    const auto at = body.find(delimiter, from);
    if (at == std::string_view::npos) return {};
    std::size_t after = at + delimiter.size();
    if (body.substr(after).starts_with("--")) return {at, after + 2, true};
    while (after < body.size() && (body[after] == ' ' || body[after] == '\t')) ++after;
    if (body.substr(after).starts_with("\r\n")) return {at, after + 2, false};
    from = at + 1;
  }
}

}  // namespace

Result<std::string> multipart_boundary(std::string_view content_type, std::string_view subtype) {
  const auto semicolon = std::min(content_type.find(';'), content_type.size());
  const std::string wanted = "multipart/" + std::string(subtype);
  if (!iequals(trim(content_type.substr(0, semicolon)), wanted)) {
    return malformed("the content type must be " + wanted);
  }
  std::string_view rest = content_type.substr(semicolon);
  while (!trim(rest).empty()) {
    std::string_view name;
    std::string value;
    if (!take_parameter(rest, name, value)) break;
    if (!iequals(name, "boundary")) continue;
    if (!is_boundary(value)) return malformed("the boundary is not a valid one");
    return value;
  }
  return malformed("the content type has no boundary");
}

Result<std::vector<Part>> parse_form_data(std::string_view content_type, std::string_view body,
                                          const MultipartLimits& limits) {
  const auto boundary = multipart_boundary(content_type, "form-data");
  if (!boundary) return std::unexpected(boundary.error());
  const std::string delimiter = "\r\n--" + *boundary;
  // The first delimiter may open the body, without the line break in front of it.
  Delimiter found;
  const std::string_view opening = std::string_view(delimiter).substr(2);
  if (body.starts_with(opening)) found = find_delimiter(body, 0, opening);
  if (found.at != 0) found = find_delimiter(body, 0, delimiter);
  if (found.at == std::string_view::npos) return malformed("the boundary does not occur in it");

  std::vector<Part> parts;
  while (!found.last) {
    if (parts.size() == limits.parts) {
      return over_limit("more than " + std::to_string(limits.parts) + " parts");
    }
    const std::size_t start = found.next;
    const std::string_view window = body.substr(start, limits.part_header_bytes + 4);
    const auto end = window.find("\r\n\r\n");
    if (end == std::string_view::npos) {
      if (body.size() - start > window.size()) {
        return over_limit("the headers of a part are too long");
      }
      return malformed("the headers of a part have no end");
    }
    Part part;
    if (auto read = read_part_headers(window.substr(0, end + 2), limits, part); !read) {
      return std::unexpected(read.error());
    }
    const std::size_t data = start + end + 4;
    // An empty part's delimiter begins with the CR LF that ends its headers.
    found = find_delimiter(body, data - 2, delimiter);
    if (found.at == std::string_view::npos) return malformed("the last boundary is missing");
    part.data = found.at < data ? std::string_view{} : body.substr(data, found.at - data);
    parts.push_back(std::move(part));
  }
  return parts;
}

namespace {

std::string random_boundary() {
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::random_device device;
  std::string out = "bai-";
  for (int i = 0; i < 8; ++i) {
    unsigned bits = device();
    for (int digit = 0; digit < 4; ++digit, bits >>= 4) out += kHex[bits & 15];
  }
  return out;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f ? '_' : c;
  }
  return out + "\"";
}

}  // namespace

MultipartBuilder::MultipartBuilder(std::string_view subtype)
    : MultipartBuilder(subtype, random_boundary()) {}

MultipartBuilder::MultipartBuilder(std::string_view subtype, std::string boundary)
    : subtype_(subtype), boundary_(std::move(boundary)) {}

void MultipartBuilder::add(const Headers& headers, std::string_view data) {
  body_.append("--").append(boundary_).append("\r\n");
  for (const Header& header : headers) {
    body_.append(header.name).append(": ");
    for (char c : header.value) body_ += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
    body_.append("\r\n");
  }
  body_.append("Content-Length: ").append(std::to_string(data.size())).append("\r\n\r\n");
  body_.append(data).append("\r\n");
}

void MultipartBuilder::add_field(std::string_view name, std::string_view data,
                                 std::string_view filename, std::string_view content_type) {
  Headers headers;
  std::string disposition = "form-data; name=" + quoted(name);
  if (!filename.empty()) disposition.append("; filename=").append(quoted(filename));
  headers.add("Content-Disposition", std::move(disposition));
  if (!content_type.empty()) headers.add("Content-Type", std::string(content_type));
  add(headers, data);
}

std::string MultipartBuilder::content_type() const {
  return "multipart/" + subtype_ + "; boundary=" + boundary_;
}

std::string MultipartBuilder::finish() {
  body_.append("--").append(boundary_).append("--\r\n");
  return std::exchange(body_, {});
}

}  // namespace bai::http
