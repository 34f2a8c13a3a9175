// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/mpi_communicator.h"

#include <algorithm>
#include <climits>

#include "base/error.h"

namespace selvage {
namespace {

// MPI counts are ints: large buffers go in pieces of this many bytes.
constexpr std::size_t piece = std::size_t{1} << 30;

// The tag of the pieces of all_gather_v and all_to_all_v; callers' tags stay below it.
constexpr int bulk_tag = 32000;

class MpiTransfer final : public Transfer {
  public:
    enum class Kind : std::uint8_t { send, receive };
    explicit MpiTransfer(Kind kind) : kind_(kind) {}
    ~MpiTransfer() override {
        if (request_ == MPI_REQUEST_NULL) return;
        // A receive can be taken back; a send that was announced cannot.
        if (kind_ == Kind::receive && MPI_Cancel(&request_) == MPI_SUCCESS)
            MPI_Wait(&request_, MPI_STATUS_IGNORE);
        else
            MPI_Request_free(&request_);
    }
    bool done() override {
        int flag = 1;
        if (request_ != MPI_REQUEST_NULL) check_mpi(MPI_Test(&request_, &flag, MPI_STATUS_IGNORE), "MPI_Test");
        return flag != 0;
    }
    MPI_Request* request() { return &request_; }

  private:
    Kind kind_;
    MPI_Request request_ = MPI_REQUEST_NULL;
};

}  // namespace

void check_mpi(int status, char const* call) {
    if (status == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(status, text, &length);
    fail(ExitCode::system, "{} failed: {}", call, std::string_view(text, static_cast<std::size_t>(length)));
}

MpiCommunicator::MpiCommunicator(MPI_Comm handle) : handle_(handle) {
    check_mpi(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(handle_, &size_), "MPI_Comm_size");
}

MpiCommunicator::~MpiCommunicator() {
    for (Pending& sent : pending_) MPI_Wait(&sent.request, MPI_STATUS_IGNORE);
    MPI_Comm_free(&handle_);
}

void MpiCommunicator::barrier() {
    Blocking const blocking(*this);
    check_mpi(MPI_Barrier(handle_), "MPI_Barrier");
}

void MpiCommunicator::broadcast(std::span<std::byte> bytes, int root) {
    Blocking const blocking(*this);
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        auto const count = static_cast<int>(std::min(piece, bytes.size() - at));
        check_mpi(MPI_Bcast(bytes.data() + at, count, MPI_BYTE, root, handle_), "MPI_Bcast");
    }
}

void MpiCommunicator::all_gather(std::span<std::byte const> send, std::span<std::byte> recv) {
    Blocking const blocking(*this);
    SELVAGE_CHECK(recv.size() == send.size() * static_cast<std::size_t>(size_), "all_gather of {} into {} bytes",
                  send.size(), recv.size());
    if (send.size() <= piece) {
        auto const count = static_cast<int>(send.size());
        check_mpi(MPI_Allgather(send.data(), count, MPI_BYTE, recv.data(), count, MPI_BYTE, handle_), "MPI_Allgather");
        return;
    }
    std::vector<std::size_t> const counts(static_cast<std::size_t>(size_), send.size());
    all_gather_v(send, recv, counts);
}

void MpiCommunicator::all_gather_v(std::span<std::byte const> send, std::span<std::byte> recv,
                                   std::span<std::size_t const> counts) {
    Blocking const blocking(*this);
    std::size_t at = 0;
    for (int root = 0; root < size_; ++root) {
        std::size_t const count = counts[static_cast<std::size_t>(root)];
        std::span<std::byte> const part = recv.subspan(at, count);
        if (root == rank_) {
            SELVAGE_CHECK(send.size() == count, "all_gather_v sends {} of {} bytes", send.size(), count);
            if (send.data() != part.data()) std::copy(send.begin(), send.end(), part.begin());
        }
        at += count;
    }
    // Small, equal-ish parts go in one call; anything that may overflow an int goes part by part.
    if (at <= INT_MAX) {
        std::vector<int> sizes, offsets;
        int offset = 0;
        for (std::size_t const count : counts) {
            sizes.push_back(static_cast<int>(count));
            offsets.push_back(offset);
            offset += static_cast<int>(count);
        }
        check_mpi(
            MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, recv.data(), sizes.data(), offsets.data(), MPI_BYTE, handle_),
            "MPI_Allgatherv");
        return;
    }
    at = 0;
    for (int root = 0; root < size_; ++root) {
        std::size_t const count = counts[static_cast<std::size_t>(root)];
        broadcast(recv.subspan(at, count), root);
        at += count;
    }
}

void MpiCommunicator::all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                                   std::span<std::byte> recv, std::span<std::size_t const> recv_counts) {
    Blocking const blocking(*this);
    std::vector<MPI_Request> requests;
    std::size_t at = 0;
    for (int source = 0; source < size_; ++source) {
        std::size_t const count = recv_counts[static_cast<std::size_t>(source)];
        for (std::size_t from = 0; source != rank_ && from < count; from += piece) {
            requests.emplace_back();
            check_mpi(MPI_Irecv(recv.data() + at + from, static_cast<int>(std::min(piece, count - from)), MPI_BYTE,
                                source, bulk_tag, handle_, &requests.back()),
                      "MPI_Irecv");
        }
        at += count;
    }
    std::size_t own_send = 0, own_recv = 0;
    for (int r = 0; r < rank_; ++r) {
        own_send += send_counts[static_cast<std::size_t>(r)];
        own_recv += recv_counts[static_cast<std::size_t>(r)];
    }
    at = 0;
    for (int destination = 0; destination < size_; ++destination) {
        std::size_t const count = send_counts[static_cast<std::size_t>(destination)];
        for (std::size_t from = 0; destination != rank_ && from < count; from += piece) {
            requests.emplace_back();
            check_mpi(MPI_Isend(send.data() + at + from, static_cast<int>(std::min(piece, count - from)), MPI_BYTE,
                                destination, bulk_tag, handle_, &requests.back()),
                      "MPI_Isend");
        }
        at += count;
    }
    auto const mine = static_cast<std::size_t>(rank_);
    SELVAGE_CHECK(send_counts[mine] == recv_counts[mine], "all_to_all_v keeps {} but expects {} bytes",
                  send_counts[mine], recv_counts[mine]);
    std::copy_n(send.begin() + static_cast<std::ptrdiff_t>(own_send), send_counts[mine],
                recv.begin() + static_cast<std::ptrdiff_t>(own_recv));
    check_mpi(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
}

void MpiCommunicator::all_reduce(std::span<std::int64_t> values, Reduction reduction) {
    Blocking const blocking(*this);
    MPI_Op const operation = reduction == Reduction::sum ? MPI_SUM : reduction == Reduction::min ? MPI_MIN : MPI_MAX;
    check_mpi(
        MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_INT64_T, operation, handle_),
        "MPI_Allreduce");
}

void MpiCommunicator::free_finished_sends() {
    std::erase_if(pending_, [](Pending& sent) {
        int done = 0;
        check_mpi(MPI_Test(&sent.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
        return done != 0;
    });
}

void MpiCommunicator::send(std::span<std::byte const> bytes, int destination, int tag) {
    SELVAGE_CHECK(bytes.size() <= piece && tag < bulk_tag, "message of {} bytes with tag {}", bytes.size(), tag);
    free_finished_sends();
    Pending& sent = pending_.emplace_back();
    sent.bytes.assign(bytes.begin(), bytes.end());
    check_mpi(MPI_Isend(sent.bytes.data(), static_cast<int>(sent.bytes.size()), MPI_BYTE, destination, tag, handle_,
                        &sent.request),
              "MPI_Isend");
}

std::vector<std::byte> MpiCommunicator::take(MPI_Status const& probed) {
    int count = 0;
    check_mpi(MPI_Get_count(&probed, MPI_BYTE, &count), "MPI_Get_count");
    std::vector<std::byte> bytes(static_cast<std::size_t>(count));
    check_mpi(MPI_Recv(bytes.data(), count, MPI_BYTE, probed.MPI_SOURCE, probed.MPI_TAG, handle_, MPI_STATUS_IGNORE),
              "MPI_Recv");
    return bytes;
}

std::vector<std::byte> MpiCommunicator::receive(int source, int tag) {
    Blocking const blocking(*this);
    MPI_Status status;
    check_mpi(MPI_Probe(source, tag, handle_, &status), "MPI_Probe");
    return take(status);
}

bool MpiCommunicator::poll(int tag, Message& message) {
    free_finished_sends();
    int there = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, handle_, &there, &status), "MPI_Iprobe");
    if (there == 0) return false;
    message = {status.MPI_SOURCE, status.MPI_TAG, {}};
    message.bytes = take(status);
    return true;
}

std::unique_ptr<Transfer> MpiCommunicator::start_send(std::span<std::byte const> bytes, int destination, int tag) {
    SELVAGE_CHECK(bytes.size() <= piece && tag < bulk_tag, "message of {} bytes with tag {}", bytes.size(), tag);
    auto transfer = std::make_unique<MpiTransfer>(MpiTransfer::Kind::send);
    check_mpi(MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, destination, tag, handle_,
                        transfer->request()),
              "MPI_Isend");
    return transfer;
}

std::unique_ptr<Transfer> MpiCommunicator::start_receive(std::span<std::byte> bytes, int source, int tag) {
    SELVAGE_CHECK(bytes.size() <= piece && tag < bulk_tag, "message of {} bytes with tag {}", bytes.size(), tag);
    auto transfer = std::make_unique<MpiTransfer>(MpiTransfer::Kind::receive);
    check_mpi(
        MPI_Irecv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, source, tag, handle_, transfer->request()),
        "MPI_Irecv");
    return transfer;
}

bool MpiCommunicator::allows_threads() const {
    int provided = MPI_THREAD_SINGLE;
    return MPI_Query_thread(&provided) == MPI_SUCCESS && provided == MPI_THREAD_MULTIPLE;
}

std::unique_ptr<Communicator> MpiCommunicator::duplicate() {
    MPI_Comm copy = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(handle_, &copy), "MPI_Comm_dup");
    return std::make_unique<MpiCommunicator>(copy);
}

std::unique_ptr<Communicator> MpiCommunicator::split(int color, int key) {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(handle_, color < 0 ? MPI_UNDEFINED : color, key, &part), "MPI_Comm_split");
    return part == MPI_COMM_NULL ? nullptr : std::make_unique<MpiCommunicator>(part);
}

std::unique_ptr<Communicator> MpiCommunicator::split_by_node() {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(handle_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &part), "MPI_Comm_split_type");
    return std::make_unique<MpiCommunicator>(part);
}

}  // namespace selvage
