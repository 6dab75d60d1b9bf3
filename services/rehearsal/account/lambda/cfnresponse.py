"""What AWS Lambda adds to inline Python functions: send(event, context, status, data, physical id, no echo, reason)
to CloudFormation.
"""

import json

import urllib3

SUCCESS, FAILED = "SUCCESS", "FAILED"
_http = urllib3.PoolManager()


def send(event, context, responseStatus, responseData, physicalResourceId=None, noEcho=False, reason=None):
    body = {
        "Status": responseStatus,
        "Reason": reason or f"See the details in CloudWatch Log Stream: {context.log_stream_name}",
        "PhysicalResourceId": physicalResourceId or context.log_stream_name,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "NoEcho": noEcho,
        "Data": responseData,
    }
    encoded = json.dumps(body).encode()
    _http.request(
        "PUT", event["ResponseURL"], headers={"content-type": "", "content-length": str(len(encoded))}, body=encoded
    )
