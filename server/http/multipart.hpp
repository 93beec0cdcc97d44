// Bodies of several parts: reading multipart/form-data, writing multipart/mixed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/result.hpp"
#include "http/message.hpp"

namespace bai::http {

struct Part {
  std::string name;
  std::string filename;       // empty when there is none; a path as the client wrote it: not safe
  bool has_filename = false;  // an empty file name is still a file
  std::string content_type;   // empty when not given
  std::string_view data;      // into the body that was parsed
};

struct MultipartLimits {
  std::size_t parts = 1000;
  std::size_t part_header_bytes = 8 * 1024;  // of one part
  std::size_t part_headers = 16;
};

// The boundary of a multipart content type of the given subtype ("form-data", "mixed").
// InvalidArgument when the type is another one or the boundary is missing or malformed.
Result<std::string> multipart_boundary(std::string_view content_type, std::string_view subtype);

// `body` must outlive the parts. InvalidArgument (kind "malformed-multipart") for anything that is
// not a complete multipart/form-data body, QuotaExceeded (kind "multipart-limit") over a limit.
Result<std::vector<Part>> parse_form_data(std::string_view content_type, std::string_view body,
                                          const MultipartLimits& limits = {});

// Builds a body part by part. Parts may contain anything: the boundary is random.
class MultipartBuilder {
 public:
  explicit MultipartBuilder(std::string_view subtype = "mixed");
  MultipartBuilder(std::string_view subtype, std::string boundary);

  // Content-Length is added; the caller gives the other headers.
  void add(const Headers& headers, std::string_view data);
  // For form-data; an empty file name makes it a plain field.
  void add_field(std::string_view name, std::string_view data, std::string_view filename = {},
                 std::string_view content_type = {});

  std::string content_type() const;
  std::string finish();  // the whole body; the builder is empty afterwards

 private:
  std::string subtype_;
  std::string boundary_;
  std::string body_;
};

}  // namespace bai::http
