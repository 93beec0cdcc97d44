// Files in a session's working directory: list, upload, download.
#include <fmt/format.h>

#include "http/multipart.hpp"
#include "http/text.hpp"
#include "rest/context.hpp"
#include "rest/fields.hpp"

namespace bai::server {
namespace {

std::unexpected<Error> bad_query(std::string message) {
  return fail(ErrorCode::InvalidArgument, std::move(message), "body-invalid");
}

// A text of the query, or of a JSON body (some clients send one with GET).
Result<std::string> query_or_body(const http::Request& request, std::string_view name,
                                  std::string_view fallback) {
  if (const std::string* text = request.query.find(name)) return *text;
  const auto body = parse_body(request, true);
  if (!body) return std::unexpected(body.error());
  Fields fields(*body);
  auto text = fields.text_or({name}, fallback);
  if (auto ok = fields.status(); !ok) return std::unexpected(ok.error());
  if (text.empty()) return bad_query(fmt::format("{}: is required", name));
  return text;
}

void list_files(RestContext& api, ExchangePtr exchange) {
  auto path = query_or_body(exchange->request(), "path", ".");
  if (!path) return exchange->fail(path.error());
  const Session* session = find_session(exchange);
  if (!session) return;
  api.manager.submit(exchange->caller, ListSessionFiles{session->id, std::move(*path)},
                     [exchange](Result<Json> result) {
                       if (!result) return exchange->fail(result.error());
                       exchange->ok(*result);
                     });
}

// ---- upload: the files of one request go to the agent one after the other -----------------------

struct Upload {
  ExchangePtr exchange;
  SessionId session;
  std::vector<http::Part> parts;  // into the body of the exchange
  std::size_t next = 0;
};

void upload_next(RestContext& api, std::shared_ptr<Upload> upload) {
  if (upload->next == upload->parts.size()) {
    return upload->exchange->respond(http::Response::empty());
  }
  const http::Part& part = upload->parts[upload->next++];
  UploadSessionFile action{upload->session, part.has_filename ? part.filename : part.name,
                           Bytes(part.data.begin(), part.data.end())};
  const Caller& caller = upload->exchange->caller;
  api.manager.submit(caller, std::move(action),
                     [&api, upload](Result<UploadSessionFile::Result> result) {
                       if (!result) return upload->exchange->fail(result.error());
                       upload_next(api, upload);
                     });
}

void upload(RestContext& api, ExchangePtr exchange) {
  const auto& request = exchange->request();
  auto parts = http::parse_form_data(request.headers.get("Content-Type"), request.body);
  if (!parts) return exchange->fail(parts.error());
  std::erase_if(*parts, [](const http::Part& part) { return !part.has_filename; });
  if (parts->empty()) {
    return exchange->fail(bad_query("The form has no file: each part needs a filename").error());
  }
  const Session* session = find_session(exchange);
  if (!session) return;
  upload_next(api, std::make_shared<Upload>(
                       Upload{std::move(exchange), session->id, std::move(*parts), 0}));
}

// ---- download -----------------------------------------------------------------------------------

Result<std::vector<std::string>> wanted_files(const http::Request& request, std::size_t max) {
  std::vector<std::string> files;
  for (const auto file : request.query.all("files")) files.emplace_back(file);
  if (files.empty()) {
    const auto body = parse_body(request, true);
    if (!body) return std::unexpected(body.error());
    Fields fields(*body);
    files = fields.texts({"files"});
    if (auto ok = fields.status(); !ok) return std::unexpected(ok.error());
  }
  if (files.empty()) return bad_query("files: is required");
  if (files.size() > max) return bad_query(fmt::format("files: at most {} at once", max));
  return files;
}

struct Download {
  ExchangePtr exchange;
  SessionId session;
  std::vector<std::string> files;
  std::size_t next = 0, bytes = 0;
  http::MultipartBuilder out{"mixed"};
};

void download_next(RestContext& api, std::shared_ptr<Download> download) {
  if (download->next == download->files.size()) {
    http::Response response;
    response.headers.add("Content-Type", download->out.content_type());
    response.body = download->out.finish();
    return download->exchange->respond(std::move(response));
  }
  DownloadSessionFile action{download->session, download->files[download->next++], false};
  const Caller& caller = download->exchange->caller;
  api.manager.submit(caller, std::move(action), [&api, download](Result<Bytes> result) {
    if (!result) return download->exchange->fail(result.error());
    download->bytes += result->size();
    if (download->bytes > api.options.download_bytes_max) {
      return download->exchange->fail(
          bad_query(fmt::format("The files together are larger than {} bytes; download them in "
                                "several requests",
                                api.options.download_bytes_max))
              .error());
    }
    const std::string name = download->files[download->next - 1];
    download->out.add({{"Content-Type", "application/x-tar"},
                       {"Content-Disposition", fmt::format("attachment; filename*=UTF-8''{}",
                                                           http::percent_encode(name))}},
                      {reinterpret_cast<const char*>(result->data()), result->size()});
    download_next(api, download);
  });
}

void download(RestContext& api, ExchangePtr exchange) {
  auto files = wanted_files(exchange->request(), api.options.download_files_max);
  if (!files) return exchange->fail(files.error());
  const Session* session = find_session(exchange);
  if (!session) return;
  auto state = std::make_shared<Download>();
  state->exchange = std::move(exchange);
  state->session = session->id;
  state->files = std::move(*files);
  download_next(api, std::move(state));
}

void download_single(RestContext& api, ExchangePtr exchange) {
  auto file = query_or_body(exchange->request(), "file", "");
  if (!file) return exchange->fail(file.error());
  const Session* session = find_session(exchange);
  if (!session) return;
  api.manager.submit(exchange->caller, DownloadSessionFile{session->id, std::move(*file), true},
                     [exchange](Result<Bytes> result) {
                       if (!result) return exchange->fail(result.error());
                       http::Response response;
                       response.headers.add("Content-Type", "application/x-tar");
                       response.body.assign(result->begin(), result->end());
                       exchange->respond(std::move(response));
                     });
}

}  // namespace

void add_session_file_routes(RouteList& routes) {
  routes.insert(routes.end(),
                {{"GET", "/session/{session}/files", Guard::User, list_files},
                 {"POST", "/session/{session}/upload", Guard::User, upload},
                 {"POST", "/session/{session}/download", Guard::User, download},
                 {"POST", "/session/{session}/download_single", Guard::User, download_single}});
}

}  // namespace bai::server
